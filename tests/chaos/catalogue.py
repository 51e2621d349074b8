"""The faults that a whole run must reach, by role and with the numbers in docs/reliability.md."""

LANE = """
7 killed when signed, not in the journal
8 killed when in the journal, not sent
9 killed when sent, not marked as sent
10 mined while nobody looked
11 restarted with other limits
12 killed during a replacement
13 killed when in a block, not in the journal
13 killed when confirmed
13 killed around another write
14 stopped with transactions on their way
15 two processes for one key
15 a process that was taken over goes on
16 a send times out and was taken
17 a nonce is spent already
17 somebody else spends our nonce
18 a replacement is underpriced
18 the fee is below the base fee
19 a node knows the transaction
20 a node keeps nothing above a gap
21 the sender cannot pay
22 a node's own fee cap
23 a limit of gas does not do any more
23 a node calls the transaction invalid
24 a sequencer refuses what would revert
24 an estimate reverts
25 a transaction reverts on chain
26 a pool forgets
26 a pool has no room for so little
26 a transaction is dropped silently
27 the fee cap is reached
28 fees rise a hundredfold
29 a reorg
29 a reorg takes what was confirmed
30 a reorg of 64 blocks or more
31 a commit is in a pool when its registration goes
31 a reorg takes a registration back
32 a reorg takes a revert
33 a node is still on the other fork
33 a reorg is itself undone
33 a reorg while the process is down
33 killed while a reorg is worked off
34 a node is behind the one before it
35 a receipt is null though it is mined
36 a node has no old state
37 a node answers with 429, 5xx or a page
39 all nodes are down
40 the chain stands still
46 the key is used elsewhere
47 the contract is paused
48 somebody else has done it
58 a commit whose answer is lost
58 a write is lost before its commit
63 the journal is lost
63 the journal is lost with transactions on their way
69 the clock jumps
an operator cancels what is on its way
an operator cancels what is not signed
an operator pauses the queue
an operator wants a transaction replaced
a budget is used up
a cancelled intent is done all the same
"""
DUTY = """
8 killed when in the journal, not sent
10 mined while nobody looked
13 killed around another write
13 the end of a window is near
15 two processes for one key
16 a send times out and was taken
24 a sequencer refuses what would revert
25 a transaction reverts on chain
26 a pool forgets
28 fees rise a hundredfold
29 a reorg
29 a reorg takes what was confirmed
32 a reorg takes a revert
33 a node is still on the other fork
33 a reorg is itself undone
34 a node is behind the one before it
39 all nodes are down
40 the chain stands still
46 the key is used elsewhere
58 a commit whose answer is lost
58 a write is lost before its commit
63 the journal is lost
69 the clock jumps
75 down while a window runs
78 another one answers
"""
TOWER = """
75 a stale close
76 a state comes after the close
"""
CHALLENGER = """
26 a private RPC keeps what it takes
31 a commit comes again without its registration
31 a reorg moves a revocation
38 a node has misled a judge
39 the private RPC is down
62 a challenged data file is missing for a while
84 a batch that is wrong, or hidden
"""
GUARD = """
62 a demanded data file is missing
80 a demand
"""
BATCHES = """
2 a report comes twice
2 killed when on the bus, not acknowledged
3 killed when read from the bus, not in the journal
4 killed when in the journal, not off the bus
5 killed when sealed, not in the journal
15 a process that was taken over goes on
15 two processes for one lane
50 another report with a sequence of before
58 a commit whose answer is lost
58 a write is lost before its commit
68 a report comes too late to be known
68 a window without a leaf is held
"""
REWARDS = """
10 mined while nobody looked
13 killed around another write
13 the end of a window is near
15 two processes for one key
16 a send times out and was taken
25 a transaction reverts on chain
26 a pool forgets
28 fees rise a hundredfold
29 a reorg
29 a reorg takes what was confirmed
31 a root comes again over other data
31 a veto is in a pool when its root goes
31 another root waits in the place of one
33 a node is still on the other fork
33 a reorg is itself undone
34 a node is behind the one before it
38 a node leaves logs out
39 all nodes are down
40 the chain stands still
46 the key is used elsewhere
58 a commit whose answer is lost
58 a write is lost before its commit
61 a data file of an epoch is damaged
62 a data file of an epoch is missing
63 the journal is lost
69 the clock jumps
75 down while a window runs
78 another one answers
85 a wrong reward root
"""
FAULTS = {
    "submitter": LANE.strip().splitlines(),
    "watchtower": [*DUTY.strip().splitlines(), *TOWER.strip().splitlines()],
    "challenger": [*DUTY.strip().splitlines(), *CHALLENGER.strip().splitlines()],
    "aggregator": BATCHES.strip().splitlines(),
    "guard": [*DUTY.strip().splitlines(), *GUARD.strip().splitlines()],
    "rewards": REWARDS.strip().splitlines(),
}
