// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// The one function of Multicall3 that we use, written for tests.
contract Multicall {
    struct Question {
        address target;
        bool allowFailure;
        bytes callData;
    }

    struct Answer {
        bool success;
        bytes returnData;
    }

    function aggregate3(Question[] calldata questions) external payable returns (Answer[] memory answers) {
        answers = new Answer[](questions.length);
        for (uint256 place = 0; place < questions.length; place++) {
            (bool success, bytes memory data) = questions[place].target.call(questions[place].callData);
            require(success || questions[place].allowFailure, "a call failed");
            answers[place] = Answer(success, data);
        }
    }
}
