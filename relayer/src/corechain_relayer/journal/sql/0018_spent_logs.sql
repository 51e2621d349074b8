-- What a kept log is about, where it ends: a state channel. When it has, nobody needs its logs. What was kept without
-- it is read anew.
delete from final_view;
alter table final_log add column subject bytea;
create index final_log_subject on final_log (view_id, subject) where subject is not null;
