-- A page is read from the index alone where Postgres knows that all of a part of the table is visible, which a vacuum
-- notes. By its defaults that is done after a fifth of the table is new: a day of five days, the very one that is asked for.
alter table segment set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
