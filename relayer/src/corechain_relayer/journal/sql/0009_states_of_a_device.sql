-- The quality states of a device lie in its own row, packed (journal/rows.py): a fold writes one row a
-- device, not one more for each of its metrics. 22 bytes a metric, ascending: metric u16, value i32, time
-- and run start u64, big-endian.
alter table device_sequence add column states bytea not null default ''
    check (octet_length(states) % 22 = 0);
update device_sequence set states = packed.states
from (
    select device, string_agg(
        substring(int4send(metric) from 3) || int4send(value) || int8send(at) || int8send(run_start),
        '' order by metric
    ) as states
    from quality_state group by device
) as packed
where device_sequence.device = packed.device;
drop table quality_state;
