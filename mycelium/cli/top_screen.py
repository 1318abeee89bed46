"""The screen of ``mycelium top``: draws the tables of the model once a second, and does what the keys say.

It is imported by the command only: the library for it takes longer to load than all else of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Static

from mycelium.cli.guard import EXIT_INTERRUPTED
from mycelium.cli.top_model import Detail, Model, Picture
from mycelium.cli.top_tables import Table, is_figure
from mycelium.cli.values import escaped

DRAW_SECONDS = 0.5
"""Between two drawings: what comes once a second is shown within half of one."""

NAMES = ("processes", "services", "streams", "subscriptions", "broker", "ledger", "drift")
"""Of the tables that there can be, in their order."""

HELP = """\
tab, right   the next table          shift+tab, left   the one before
up, down     the next row            enter   all that is known of a row
/            show rows with a text   escape  back; show all rows
s            sort by the next column p       pause, and go on
q            end                     ?       this page

out/s, in/s  messages a second that a process publishes, and that its
             handlers take
p50, p99     from publish to the start of the handler, in the last second:
             half of the messages, and 99 of 100, took no longer
lag          messages that wait for a reader, in its queue or in a store
drops        messages dropped by a queue's policy and other causes
dead         messages that a handler gave up
lost         messages lost on the way, or no longer kept
queue        messages that wait in the mailbox, of those that it holds
missing      messages that the ledger cannot account for: must be 0
drift        what runs otherwise than system.yaml and the topology say
GONE         a process that has said nothing for 3 seconds
SILENT       one that has said nothing at all since this was started
"""

_BINDINGS: tuple[BindingType, ...] = (
    Binding("slash", "filter"),
    Binding("s", "sort"),
    Binding("p", "pause"),
    Binding("question_mark", "help"),
    Binding("q", "end"),
    Binding("escape", "all_rows"),
    Binding("ctrl+c", "interrupt", priority=True),
)

KEYS = (
    ("q", "quit"), ("?", "help"), ("/", "filter"), ("↵", "details"), ("s", "sort"), ("p", "pause"), ("tab", "table"),
    ("esc", "all rows"),
)  # fmt: skip
"""Those that the last line shows, as far as there is room."""

PAGE_KEYS = (("esc", "back"), ("↑↓", "scroll"))


class Keys(Static):
    """The last line.

    Args:
        keys: with what they do, the most important first.
    """

    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        super().__init__(classes="keys")
        self._keys = tuple(keys)

    def on_resize(self) -> None:
        """There may be room for more, or less."""
        line = Text(no_wrap=True)
        for key, does in self._keys:
            if len(line) + len(key) + len(does) + 3 > self.size.width:
                break
            line.append(f" {key} ", "bold").append(f"{does} ")
        self.update(line)


class Grid(DataTable[Text]):
    """One table."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    def __init__(self, name: str) -> None:
        super().__init__(id=name, cursor_type="row", zebra_stripes=False, show_cursor=False)
        self.keys: list[tuple[str, ...]] = []
        """What the rows are about."""
        self.sorted_by: int | None = None

    def on_focus(self) -> None:
        """The cursor is where the keys are."""
        self.show_cursor: bool = True

    def on_blur(self) -> None:
        """See :meth:`on_focus`."""
        self.show_cursor = False

    def action_cursor_down(self) -> None:
        """Behind the last row comes the next table."""
        if self.cursor_row >= len(self.keys) - 1:
            self.app.action_focus_next()
        else:
            super().action_cursor_down()

    def action_cursor_up(self) -> None:
        """Before the first row comes the table before."""
        if self.cursor_row <= 0:
            self.app.action_focus_previous()
        else:
            super().action_cursor_up()

    @property
    def selected(self) -> tuple[str, ...] | None:
        """What the row under the cursor is about."""
        return self.keys[self.cursor_row] if 0 <= self.cursor_row < len(self.keys) else None

    def draw(self, table: Table, width: int) -> None:
        """Show a table; the cursor stays with what its row is about."""
        selected, at = self.selected, self.cursor_row
        table = table.sorted_by(self.sorted_by)
        sheet = table.fitting(width)
        self.clear(columns=True)
        for number, title, wide in zip(sheet.columns, sheet.titles, sheet.widths, strict=True):
            figure = is_figure(table.columns[number])
            shown = _padded(title, wide, right=figure)
            shown.stylize("bold underline" if number == self.sorted_by else "bold")
            self.add_column(shown, width=wide)
        for row, cells in zip(table.rows, sheet.cells, strict=True):
            self.add_row(
                *(
                    _padded(cell, wide, right=is_figure(table.columns[number]), style=row.alarm.value)
                    for number, cell, wide in zip(sheet.columns, cells, sheet.widths, strict=True)
                )
            )
        self.keys = [row.key for row in table.rows]
        self.can_focus: bool = bool(self.keys)
        if self.keys:
            at = self.keys.index(selected) if selected in self.keys else min(at, len(self.keys) - 1)
            self.move_cursor(row=max(at, 0), animate=False, scroll=False)


def _padded(shown: str, width: int, *, right: bool, style: str = "") -> Text:
    return Text(shown.rjust(width) if right else shown, style=style, no_wrap=True)


class Page(ModalScreen[None]):
    """A page over the tables.

    Args:
        title: of the page.
        content: what stands there, asked again and again.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "app.pop_screen", "back"),
        Binding("ctrl+c", "app.interrupt", show=False, priority=True),
    ]

    def __init__(self, title: str, content: Callable[[], Text]) -> None:
        super().__init__()
        self._heading = Text(title, style="bold", no_wrap=True, overflow="ellipsis")
        self._content = content

    def compose(self) -> ComposeResult:
        """Its parts."""
        yield Static(self._heading, classes="head")
        with VerticalScroll():
            yield Static(self._content(), id="content")
        yield Keys(PAGE_KEYS)

    def on_mount(self) -> None:
        """It lives, too."""
        self.set_interval(DRAW_SECONDS, lambda: self.query_one("#content", Static).update(self._content()))


class TopApp(App[int]):
    """All of it. What :meth:`run_async` returns is the exit code.

    Args:
        model: what is known.
        now: the time, ns, by the clock by which the model takes messages.
        about: which system this is.
        plain: no colours.
    """

    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = list(_BINDINGS)
    CSS: ClassVar[str] = """
    Screen, Page { background: $background; }
    Page { align: left top; }
    .head, .keys { height: 1; background: $panel; }
    .keys { dock: bottom; }
    #filter { height: 1; border: none; padding: 0 1; display: none; }
    .title { height: 1; margin-top: 1; text-style: bold; }
    Grid { height: auto; background: $background; overflow: hidden; }
    Grid > .datatable--header { background: $background; text-style: bold; }
    Grid > .datatable--cursor, Grid:focus > .datatable--cursor {
        text-style: reverse; background: $background; color: $foreground;
    }
    #content { width: 1fr; }
    """

    def __init__(self, model: Model, now: Callable[[], int], about: str, *, plain: bool) -> None:
        super().__init__(ansi_color=plain)
        self._model = model
        self._now = now
        self._about = escaped(about)
        self._picture: Picture = model.picture(now())
        self._is_paused = False
        self._filter = ""
        self._in_hand: Grid | None = None

    def compose(self) -> ComposeResult:
        """Its parts."""
        yield Static(id="head", classes="head")
        with VerticalScroll(id="tables", can_focus=False):
            for name in NAMES:
                yield Static(name, id=f"title-{name}", classes="title")
                yield Grid(name)
        yield Input(placeholder="show rows with this text", id="filter")
        yield Keys(KEYS)

    def on_mount(self) -> None:
        """Draw, again and again."""
        self._draw()
        self.query_one("#processes", Grid).focus()
        self.set_interval(DRAW_SECONDS, self._look)

    def on_resize(self) -> None:
        """There may be room for other columns."""
        self.call_after_refresh(self._draw)

    def _look(self) -> None:
        if not self._is_paused:
            self._picture = self._model.picture(self._now())
            self._draw()

    def _draw(self) -> None:
        base = self.screen_stack[0]
        if not base.query("#head"):
            return  # it is ending
        width = base.query_one("#tables").scrollable_content_region.width or self.size.width
        base.query_one("#head", Static).update(self._head())
        for name in NAMES:
            table = self._picture.tables.get(name)
            title, grid = base.query_one(f"#title-{name}", Static), base.query_one(f"#{name}", Grid)
            title.display = grid.display = table is not None
            if table is not None:
                shown = table.filtered(self._filter)
                title.update(_title(table, shown))
                grid.display = bool(shown.rows)
                grid.draw(shown, width)

    def _head(self) -> Text:
        head = Text(no_wrap=True, overflow="ellipsis")
        if self._is_paused:
            head.append("PAUSED  ", "bold reverse")
        if self._filter:
            head.append(f"filter: {escaped(self._filter)}  ", "reverse")
        for part, alarm in self._picture.headline:
            head.append(part, alarm.value).append("  ")
        return head.append(self._about, "dim")

    # --- keys --------------------------------------------------------------------------------

    def action_end(self) -> None:
        """End."""
        self.exit(0)

    def action_interrupt(self) -> None:
        """End, as Ctrl-C ends everything."""
        self.exit(EXIT_INTERRUPTED)

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self._is_paused = not self._is_paused
        self._draw()
        self._look()

    def action_sort(self) -> None:
        """Sort the table in hand by its next column, and behind the last as it was."""
        grid = self.focused
        if isinstance(grid, Grid) and grid.id in self._picture.tables:
            columns = len(self._picture.tables[grid.id].columns)
            following = 0 if grid.sorted_by is None else grid.sorted_by + 1
            grid.sorted_by = following if following < columns else None
            self._draw()

    def action_filter(self) -> None:
        """Ask for a text."""
        asked = self.query_one("#filter", Input)
        if isinstance(self.focused, Grid):
            self._in_hand = self.focused
        # Both at once, and not when there is time: what is typed next is for it.
        asked.display = True
        self.screen.set_focus(asked)

    def action_all_rows(self) -> None:
        """Show all rows again."""
        self.query_one("#filter", Input).value = self._filter = ""
        self._draw()
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._filter = event.value.strip()
        self._draw()

    def on_input_submitted(self) -> None:
        """Back to the tables, with the filter as it is."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        before = [self._in_hand] if self._in_hand is not None else []
        for grid in (*before, *self.query(Grid)):
            if grid.keys:
                self.screen.set_focus(grid)
                break

    def action_help(self) -> None:
        """Say what keys and columns are."""
        self.push_screen(Page("keys and columns", lambda: Text(HELP)))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show everything of a row."""
        grid = event.data_table
        if isinstance(grid, Grid) and grid.id is not None and grid.selected is not None:
            name, key = grid.id, grid.selected
            title = f"{name}: {' '.join(escaped(part) for part in key)}"
            self.push_screen(Page(title, lambda: _details(self._model.details(name, key))))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Keep the row with the cursor in sight."""
        grid = event.data_table
        if grid.has_focus:
            tables = self.screen_stack[0].query_one("#tables", VerticalScroll)
            row = Region(0, grid.virtual_region.y + 1 + event.cursor_row, 1, 1)
            tables.scroll_to_region(row, animate=False, x_axis=False)


def _title(table: Table, shown: Table) -> Text:
    number = f"{len(shown.rows)} of {len(table.rows)}" if len(shown.rows) != len(table.rows) else f"{len(table.rows)}"
    if not table.rows:
        number = table.empty
    return Text.assemble((f"{table.name} ", "bold"), (number, "dim"), no_wrap=True)


def _details(details: Iterable[Detail]) -> Text:
    lines = Text()
    before = ""
    for detail in details:
        if detail.figure != before:
            lines.append(f"{escaped(detail.figure)}\n", "bold")
            before = detail.figure
        lines.append(f"  {detail.value}").append(f"  {detail.labels}\n" if detail.labels else "\n", "dim")
    return lines or Text("nothing is known of it any more")
