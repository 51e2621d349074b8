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

-- Vouchers that were redeemed together share a log that has the first 20 bytes of each channel's id and no amounts.
alter table payment_event drop constraint payment_event_pkey;
alter table payment_event add primary key (block_number, log_index, channel_id);
create index payment_channel_prefix on payment_channel (substring(channel_id from 1 for 20));

create function complete_redemption() returns trigger language plpgsql as $$
begin
    select c.channel_id into strict new.channel_id
      from payment_channel c where substring(c.channel_id from 1 for 20) = new.channel_id limit 1;
    select new.total - coalesce(max(e.total), 0) into new.amount
      from payment_event e where e.channel_id = new.channel_id and e.kind in ('claimed', 'redeemed');
    return new;
end $$;
create trigger payment_event_redemption before insert on payment_event
    for each row when (new.kind = 'redeemed' and octet_length(new.channel_id) = 20)
    execute function complete_redemption();
