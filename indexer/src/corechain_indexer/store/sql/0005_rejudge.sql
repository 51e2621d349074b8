-- Until here a source with wrong bytes made a mismatch. Now that is a verdict on the committed file alone: look again.

update batch_file set state = 'withheld', next_attempt_at = now() where state = 'mismatch';
