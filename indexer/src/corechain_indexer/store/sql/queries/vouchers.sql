-- name: lock_voucher
select amount, charged from voucher where channel_id = $1 for update

-- name: held_voucher
select amount, charged, signature from voucher where channel_id = $1

-- name: begin_voucher
-- A row to lock for a channel's first payment, charged what the chain has claimed.
insert into voucher (channel_id, amount, charged, signature, config, queries) values ($1, $2, $2, '', '', 0)
    on conflict (channel_id) do nothing

-- name: charge_voucher
update voucher set amount = $2, charged = $2, signature = $3, config = $4, queries = queries + 1, updated_at = now()
 where channel_id = $1

-- name: keep_answer
insert into paid_answer (channel_id, amount, payment_id, query, body, receipt) values ($1, $2, $3, $4, $5, $6)
    on conflict (channel_id) do update
   set amount = excluded.amount, payment_id = excluded.payment_id, query = excluded.query, body = excluded.body,
       receipt = excluded.receipt, answered_at = now()

-- name: kept_answer
select body, receipt from paid_answer
 where channel_id = $1 and amount = $2 and payment_id = $3 and query = $4

-- name: forget_answers
delete from paid_answer where answered_at < now() - make_interval(secs => $1)

-- name: deposited
-- All that was ever deposited into a channel, on the mirrored chain.
select coalesce(sum(amount), 0) from payment_event where channel_id = $1 and kind = 'deposited'

-- name: begin_deposit
insert into deposit_attempt (payment, channel_id, before) values ($1, $2, $3) on conflict (payment) do nothing
returning before

-- name: begun_deposit
select before from deposit_attempt where payment = $1

-- name: forget_deposits
delete from deposit_attempt where begun_at < now() - make_interval(secs => $1)

-- name: vouchers
-- Vouchers on which more is charged than is claimed on the mirrored chain.
select v.channel_id, v.amount, v.charged, v.signature, v.config, v.queries, p.claimed
  from voucher v join payment_balance p using (channel_id)
 where v.charged > p.claimed order by v.channel_id

-- name: endangered_vouchers
-- Channels of which the payer withdraws what covers charged queries, the most urgent first. All of them: the operator
-- loses what is not told, and what is missing from the answer is taken for settled.
select v.channel_id, v.charged - greatest(p.claimed, p.balance - p.withdrawing) as amount,
       (select w.total from payment_event w where w.channel_id = v.channel_id and w.kind = 'withdrawing'
         order by w.block_number desc, w.log_index desc limit 1) as finalize_after
  from voucher v join payment_balance p using (channel_id)
 where v.channel_id in (select channel_id from payment_event where kind = 'withdrawing')
   and p.withdrawing > 0 and v.charged > greatest(p.claimed, p.balance - p.withdrawing)
 order by finalize_after
