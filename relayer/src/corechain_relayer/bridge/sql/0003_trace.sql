-- Trace (16 bytes) and span (8 bytes) of the upload that a report was made of, where it is followed.
alter table outbox add column trace blob;
