-- Devices of fleets: one row a device of each list in the log, in which it may stand beside a slot of its own.

create table fleet_device (
    block_number bigint not null,
    log_index    integer not null,
    position     integer not null,
    fleet        bytea not null check (octet_length(fleet) = 26),
    device       bytea not null check (octet_length(device) = 20),
    owner        bytea not null,
    key_type     smallint not null,
    primary key (block_number, log_index, position)
);
create index fleet_device_device on fleet_device (device, block_number, log_index);

alter table device_event add column revoked_at bigint;
alter table device_event drop constraint device_event_kind_check;
alter table device_event add constraint device_event_kind_check
    check (kind in ('registered', 'materialised', 'transferred', 'revoked'));

-- Where a device came from: its own slot, else the first fleet that lists it.
create view device_origin as
select device, owner, key_type, public_key, block_number
  from device_event where kind in ('registered', 'materialised')
 union all
select f.device, f.owner, f.key_type, null, f.block_number
  from fleet_device f
 where not exists (select from device_event r
                    where r.device = f.device and r.kind in ('registered', 'materialised'))
   and not exists (select from fleet_device g
                    where g.device = f.device
                      and (g.block_number, g.log_index) < (f.block_number, f.log_index));

drop view device;
create view device as
select r.device, r.key_type, r.public_key, r.block_number,
       coalesce(
           (select t.owner from device_event t
             where t.device = r.device and t.kind = 'transferred'
             order by t.block_number desc, t.log_index desc limit 1),
           r.owner) as owner,
       v.device is not null as revoked,
       v.revoked_at
  from device_origin r
  left join device_event v on v.device = r.device and v.kind = 'revoked';
