-- A withdrawal that was begun can be finished in any second after its delay: it covers no voucher any more.

create or replace view payment_balance as
select c.channel_id, c.block_number, c.payer, c.payer_authorizer, c.receiver, c.receiver_authorizer,
       c.token, c.withdraw_delay, c.salt,
       coalesce((select sum(case when e.kind = 'deposited' then e.amount
                                 when e.kind in ('refunded', 'withdrawn') then -e.amount
                                 else 0 end)
                   from payment_event e where e.channel_id = c.channel_id), 0) as balance,
       coalesce((select max(e.total) from payment_event e
                  where e.channel_id = c.channel_id and e.kind in ('claimed', 'redeemed')), 0) as claimed,
       coalesce((select greatest(0, w.amount - coalesce((
                            select sum(r.amount) from payment_event r
                             where r.channel_id = w.channel_id and r.kind = 'refunded'
                               and (r.block_number, r.log_index) > (w.block_number, w.log_index)), 0))
                   from payment_event w
                  where w.channel_id = c.channel_id and w.kind = 'withdrawing'
                    and not exists (
                        select from payment_event d
                         where d.channel_id = w.channel_id and d.kind = 'withdrawn'
                           and (d.block_number, d.log_index) > (w.block_number, w.log_index))
                  order by w.block_number desc, w.log_index desc limit 1), 0) as withdrawing
  from (select distinct on (channel_id) * from payment_channel order by channel_id, block_number) c;
