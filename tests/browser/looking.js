// What a test asks of a page, by the names of these functions.
(() => {
  const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const channel = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);

  const background = (element) => {
    const box = element.closest("g.service, g.process");
    if (box) return parse(getComputedStyle(box.querySelector("rect")).fill);
    for (let at = element; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };

  window.looking = {
    /** Texts that are hard to read, each with its contrast, and how many were looked at. */
    contrast() {
      const poor = [];
      let seen = 0;
      for (const element of document.body.querySelectorAll("*")) {
        const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!own || element.tagName === "NOSCRIPT" || !element.getClientRects().length) continue;
        seen += 1;
        const style = getComputedStyle(element);
        const ink = parse(element instanceof SVGElement ? style.fill : style.color);
        const [light, dark] = [luminance(ink), luminance(background(element))].sort((one, other) => other - one);
        const ratio = (light + 0.05) / (dark + 0.05);
        if (ratio < 4.5) poor.push(`${element.textContent.trim()}: ${ratio.toFixed(2)}`);
      }
      return { poor, seen };
    },

    /** What can be reached or is announced, and has no name; and what else is plainly wrong. */
    faults() {
      const faults = [];
      const named = (element) =>
        element.getAttribute("aria-label") ||
        document.getElementById(element.getAttribute("aria-labelledby"))?.textContent ||
        element.labels?.[0]?.textContent ||
        (["A", "BUTTON"].includes(element.tagName) && element.textContent);
      for (const element of document.querySelectorAll("a, button, input, select, [tabindex='0'], section, svg")) {
        if (!named(element)?.trim()) faults.push(`without a name: ${element.outerHTML.slice(0, 80)}`);
      }
      // Chromium lets these have the focus anyway, since somebody listens for it; others do not.
      for (const element of document.querySelectorAll("[data-service]")) {
        if (element.tabIndex !== 0 || !element.hasAttribute("tabindex")) faults.push("a service without a tabindex");
      }
      const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
      if (new Set(ids).size !== ids.length) faults.push("an id stands twice");
      if (!document.documentElement.lang) faults.push("no language");
      if (!document.title) faults.push("no title");
      if (document.querySelectorAll("h1").length !== 1 || document.querySelectorAll("main").length !== 1) {
        faults.push("not one heading and one main part");
      }
      for (const head of document.querySelectorAll("th")) if (!head.scope) faults.push(`a th without scope: ${head.textContent}`);
      if (!document.querySelector("[aria-live=polite]")) faults.push("nothing is announced");
      return faults;
    },

    /** What has the focus, and whether that can be seen. */
    focus() {
      const element = document.activeElement;
      if (element === null || element === document.body) return null;
      const style = getComputedStyle(element);
      const rect = element.querySelector("rect");
      const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      const drawn = rect !== null && parseFloat(getComputedStyle(rect).strokeWidth) >= 3;
      const name = element.dataset.service ?? element.getAttribute("aria-labelledby") ?? element.id ?? "";
      return { name: name || element.textContent, seen: outlined || drawn };
    },
  };
})();
