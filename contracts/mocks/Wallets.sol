// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A contract account that follows one key (ERC-1271). Tests only.
contract KeyWallet {
    address private immutable _key;

    constructor(address key) {
        _key = key;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 s, uint8 v) = abi.decode(signature, (bytes32, bytes32, uint8));
        return ecrecover(digest, v, r, s) == _key ? this.isValidSignature.selector : bytes4(0);
    }
}

/// @title Code that agrees to nothing and answers every call with an empty word. Tests only.
contract DenyingWallet {
    fallback(bytes calldata) external returns (bytes memory) {
        return new bytes(32);
    }
}

/// @title Code that reverts whatever it is asked. Tests only.
contract RevertingWallet {
    error Never();

    fallback() external {
        revert Never();
    }
}
