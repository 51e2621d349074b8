-- Answers to demands are looked up by demand on every poll, among millions of batches.
create index intent_answer on intent (split_part(key, ':', 2)) where queue = 'guard';
