-- A history begins at the first batch of its time: the windows of a lane are gone through in order of its ids, and
-- without the rows, which are twenty times as wide.
create index batch_file_spans on batch_file (batch_id) include (window_start, window_end) where state = 'verified';
