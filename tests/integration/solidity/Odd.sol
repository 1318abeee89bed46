// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// A token as far as pools and readers ask it; what it says of itself is what it was given.
contract Odd {
    bytes private symbolAnswer;
    bytes private decimalsAnswer;

    mapping(address => uint256) public balanceOf;

    /// Each answer is returned as it is, an empty one reverts.
    constructor(bytes memory symbol_, bytes memory decimals_) {
        symbolAnswer = symbol_;
        decimalsAnswer = decimals_;
    }

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        return true;
    }

    function symbol() external view {
        give(symbolAnswer);
    }

    function decimals() external view {
        give(decimalsAnswer);
    }

    function give(bytes memory answer) private pure {
        require(answer.length > 0, "not said");
        assembly {
            return(add(answer, 32), mload(answer))
        }
    }
}

/// Says its decimals, and burns all gas when it is asked for its symbol.
contract Burner {
    uint8 public constant decimals = 18;

    function symbol() external pure {
        assembly {
            invalid()
        }
    }
}

/// Says its decimals, and returns as much as its gas can pay for when it is asked for its symbol.
contract Flood {
    uint8 public constant decimals = 18;

    function symbol() external view {
        uint256 size = gasleft() > 10000000 ? 3000000 : 600000;
        assembly {
            return(0, size)
        }
    }
}

/// Says its decimals, and refuses to say its symbol with words of its own.
contract Excuse {
    uint8 public constant decimals = 18;
    string private reason;

    constructor(string memory reason_) {
        reason = reason_;
    }

    function symbol() external view {
        revert(reason);
    }
}

/// No pool: it says that it is one, of the factory that it was given.
contract Pretender {
    address public factory;
    address public token0;
    address public token1;
    uint24 public constant fee = 500;
    int24 public constant tickSpacing = 10;

    constructor(address factory_, address token0_, address token1_) {
        factory = factory_;
        token0 = token0_;
        token1 = token1_;
    }
}
