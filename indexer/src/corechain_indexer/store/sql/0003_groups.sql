-- Batches that were committed together share a log; two commitments for one batch are a fraud of its submitter, and the first stands.

alter table batch drop constraint batch_pkey;
alter table batch add primary key (block_number, log_index, batch_id);

create function keep_first_commitment() returns trigger language plpgsql as $$
begin
    if exists (select from batch where batch_id = new.batch_id) then
        return null;
    end if;
    return new;
end $$;
create trigger batch_first_commitment before insert on batch
    for each row execute function keep_first_commitment();

alter table state_channel_event add column open_before bigint;
drop view state_channel;
create view state_channel as
select o.channel_id, o.block_number, o.party_a, o.party_b, o.token, o.challenge_period, o.open_before, o.salt,
       l.kind as last_kind, l.version, l.deadline,
       (select e.deposit from state_channel_event e
         where e.channel_id = o.channel_id and e.deposit is not null
         order by e.block_number desc, e.log_index desc limit 1) as deposit,
       (select e.balance_a from state_channel_event e
         where e.channel_id = o.channel_id and e.balance_a is not null
         order by e.block_number desc, e.log_index desc limit 1) as balance_a
  from state_channel_event o
  cross join lateral (
       select * from state_channel_event e where e.channel_id = o.channel_id
        order by e.block_number desc, e.log_index desc limit 1) l
 where o.kind = 'opened';
