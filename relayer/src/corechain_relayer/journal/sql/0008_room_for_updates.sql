-- A fold updates every row of a page at once. Where the page has room for the new rows, the indexes
-- need no new entries: half of the cost of a fold. Only pages that are written from now on have it.
alter table device_sequence set (fillfactor = 50);
alter table report_digest set (fillfactor = 50);
alter table quality_state set (fillfactor = 50);
