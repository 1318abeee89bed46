// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

interface IToken {
    function balanceOf(address owner) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
}

interface IPair {
    function token0() external view returns (address);
    function token1() external view returns (address);
    function getReserves() external view returns (uint112, uint112, uint32);
    function mint(address to) external returns (uint256);
    function burn(address to) external returns (uint256, uint256);
    function swap(uint256 amount0Out, uint256 amount1Out, address to, bytes calldata data) external;
    function transfer(address to, uint256 value) external returns (bool);
}

interface IPool {
    function token0() external view returns (address);
    function token1() external view returns (address);
    function mint(address to, int24 lower, int24 upper, uint128 amount, bytes calldata data)
        external
        returns (uint256, uint256);
    function burn(int24 lower, int24 upper, uint128 amount) external returns (uint256, uint256);
    function collect(address to, int24 lower, int24 upper, uint128 amount0, uint128 amount1)
        external
        returns (uint128, uint128);
    function swap(address to, bool zeroForOne, int256 amount, uint160 limit, bytes calldata data)
        external
        returns (int256, int256);
}

/// Trades and provides liquidity with the tokens it holds, for recordings on a chain of one's own.
/// Anybody may call it and any caller of its callbacks is paid: never put anything of worth into it.
contract Desk {
    uint160 private constant LOWEST = 4295128740; // TickMath.MIN_SQRT_RATIO + 1
    uint160 private constant HIGHEST = 1461446703485210103287273052203988822378723970341; // MAX_SQRT_RATIO - 1

    /// Sells `amountIn` of `tokenIn` to a Uniswap v2 pair for all that it pays at a fee of 0.3 %.
    function tradeV2(address pair, address tokenIn, uint256 amountIn) public returns (uint256 amountOut) {
        (uint256 reserve0, uint256 reserve1,) = IPair(pair).getReserves();
        bool zeroForOne = tokenIn == IPair(pair).token0();
        (uint256 reserveIn, uint256 reserveOut) = zeroForOne ? (reserve0, reserve1) : (reserve1, reserve0);
        uint256 afterFee = amountIn * 997;
        amountOut = (afterFee * reserveOut) / (reserveIn * 1000 + afterFee);
        require(IToken(tokenIn).transfer(pair, amountIn), "transfer");
        IPair(pair).swap(zeroForOne ? 0 : amountOut, zeroForOne ? amountOut : 0, address(this), "");
    }

    /// Sells `amountIn` of `tokenIn` to a Uniswap v3 pool.
    function tradeV3(address pool, address tokenIn, uint256 amountIn) public returns (uint256 amountOut) {
        bool zeroForOne = tokenIn == IPool(pool).token0();
        (int256 amount0, int256 amount1) =
            IPool(pool).swap(address(this), zeroForOne, int256(amountIn), zeroForOne ? LOWEST : HIGHEST, "");
        amountOut = uint256(-(zeroForOne ? amount1 : amount0));
    }

    /// Buys `middle` with `token` in the first pool and sells all of it in the second; undone unless it gains.
    function arbitrage(
        address first,
        bool firstIsV3,
        address second,
        bool secondIsV3,
        address token,
        address middle,
        uint256 amountIn
    ) external returns (uint256 profit) {
        uint256 bought = firstIsV3 ? tradeV3(first, token, amountIn) : tradeV2(first, token, amountIn);
        uint256 back = secondIsV3 ? tradeV3(second, middle, bought) : tradeV2(second, middle, bought);
        require(back > amountIn, "no gain");
        profit = back - amountIn;
    }

    /// Adds liquidity to a v2 pair; the shares stay here.
    function addV2(address pair, uint256 amount0, uint256 amount1) external {
        require(IToken(IPair(pair).token0()).transfer(pair, amount0), "transfer");
        require(IToken(IPair(pair).token1()).transfer(pair, amount1), "transfer");
        IPair(pair).mint(address(this));
    }

    /// Takes liquidity out of a v2 pair.
    function removeV2(address pair, uint256 shares) external {
        require(IPair(pair).transfer(pair, shares), "transfer");
        IPair(pair).burn(address(this));
    }

    /// Adds liquidity to a v3 pool between two ticks.
    function addV3(address pool, int24 lower, int24 upper, uint128 amount) external {
        IPool(pool).mint(address(this), lower, upper, amount, "");
    }

    /// Takes liquidity out of a v3 pool, and what it earned.
    function removeV3(address pool, int24 lower, int24 upper, uint128 amount) external {
        IPool(pool).burn(lower, upper, amount);
        IPool(pool).collect(address(this), lower, upper, type(uint128).max, type(uint128).max);
    }

    function uniswapV3SwapCallback(int256 amount0, int256 amount1, bytes calldata) external {
        if (amount0 > 0) require(IToken(IPool(msg.sender).token0()).transfer(msg.sender, uint256(amount0)), "pay");
        if (amount1 > 0) require(IToken(IPool(msg.sender).token1()).transfer(msg.sender, uint256(amount1)), "pay");
    }

    function uniswapV3MintCallback(uint256 amount0, uint256 amount1, bytes calldata) external {
        if (amount0 > 0) require(IToken(IPool(msg.sender).token0()).transfer(msg.sender, amount0), "pay");
        if (amount1 > 0) require(IToken(IPool(msg.sender).token1()).transfer(msg.sender, amount1), "pay");
    }
}
