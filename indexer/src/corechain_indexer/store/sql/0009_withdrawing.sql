-- Payers that leave are few among all payments, and are asked for every few seconds.
create index payment_withdrawing on payment_event (channel_id) where kind = 'withdrawing';
