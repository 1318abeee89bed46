"""A recorded arbitrage: Ethereum block 12483198, WETH to DAI on SushiSwap and back on Uniswap v2."""

from math import isqrt

from strategies.flash_arbitrage.constant_product import PIPS, amount_out

FEE = 3000
SUSHISWAP_WETH, SUSHISWAP_DAI = 47236929845714759325471, 111698811103712096099745280
UNISWAP_DAI, UNISWAP_WETH = 55910041776217338570270354, 23842893667579104092515


def profit(amount: int) -> int:
    """In wei, exactly as the pools round, without a loan's premium and without gas."""
    dai = amount_out(amount, SUSHISWAP_WETH, SUSHISWAP_DAI, FEE)
    return amount_out(dai, UNISWAP_DAI, UNISWAP_WETH, FEE) - amount


# region closed-form
# One pool turns x into a*x / (b + c*x).
a, b, c = (PIPS - FEE) * SUSHISWAP_DAI, PIPS * SUSHISWAP_WETH, PIPS - FEE
d, e, f = (PIPS - FEE) * UNISWAP_WETH, PIPS * UNISWAP_DAI, PIPS - FEE
# Two in a row are such a step again.
a, b, c = a * d, b * e, c * e + f * a
optimum = (isqrt(a * b) - b) // c
# endregion closed-form

sold = 18723458351916439600
print("sold on the chain:  ", sold, "wei, profit", profit(sold))
print("the closed form:    ", optimum, "wei, profit", profit(optimum))
