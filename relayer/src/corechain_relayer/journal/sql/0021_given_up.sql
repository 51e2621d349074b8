-- What was signed and does not count any more, which a reorg may bring back: vetoes ask for it each round.
create index attempt_given_up on attempt (sender, nonce) where refused and not cancels;
