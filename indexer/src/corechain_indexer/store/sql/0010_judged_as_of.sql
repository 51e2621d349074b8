-- Verdicts are as of the block of what is judged. Those that were reached from later facts are reached anew.

create temporary table rejudged on commit drop as
select b.batch_id
  from batch b join batch_file f using (batch_id)
  cross join lateral (select device from rollup r where r.batch_id = b.batch_id
                       union
                      select device from rejection j where j.batch_id = b.batch_id) said
 where f.state = 'verified'
   and not exists (select from device_event d
                    where d.device = said.device and d.kind in ('registered', 'materialised')
                      and d.block_number <= b.block_number)
   and not exists (select from fleet_device d
                    where d.device = said.device and d.block_number <= b.block_number)
 group by b.batch_id;

-- Triggers note what other stores must learn of it (0007).
delete from batch_file using rejudged where batch_file.batch_id = rejudged.batch_id;

-- Roots are recomputed in an instant.
delete from reward_epoch;
