// op-geth, the node of an OP stack, from the Go module proxy: it stands in the place of go-ethereum.
module corechain/op-geth

go 1.24.0

require github.com/ethereum/go-ethereum v1.17.0

replace github.com/ethereum/go-ethereum => github.com/ethereum-optimism/op-geth v1.101702.3
