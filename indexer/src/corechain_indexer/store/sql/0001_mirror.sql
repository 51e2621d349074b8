-- Everything that follows from the chain carries its block number, so that a reorg is one DELETE a table.

-- Blocks up to which the chain is mirrored; the highest is the cursor.
create table block (
    number bigint primary key,
    hash   bytea not null check (octet_length(hash) = 32)
);

-- Raw logs of our contracts, as the node gave them.
create table event (
    block_number bigint not null,
    log_index    integer not null,
    block_hash   bytea not null,
    transaction  bytea not null,
    address      bytea not null,
    topics       bytea not null,
    data         bytea not null,
    primary key (block_number, log_index)
);

create table device_event (
    block_number bigint not null,
    log_index    integer not null,
    kind         text not null check (kind in ('registered', 'transferred', 'revoked')),
    device       bytea not null check (octet_length(device) = 20),
    owner        bytea,
    key_type     smallint,
    public_key   bytea,
    primary key (block_number, log_index)
);
create index device_event_device on device_event (device, kind, block_number desc, log_index desc);

create table batch (
    block_number bigint not null,
    log_index    integer not null,
    batch_id     bigint not null unique,
    commitment   bytea not null check (octet_length(commitment) = 26),
    block_hash   bytea not null,
    transaction  bytea not null,
    primary key (block_number, log_index)
);

create table root_event (
    block_number  bigint not null,
    log_index     integer not null,
    kind          text not null check (kind in ('proposed', 'vetoed')),
    epoch         bigint not null,
    root          bytea,
    through_block bigint,
    emission      numeric(39, 0),
    active_at     bigint,
    primary key (block_number, log_index)
);

create table claim_event (
    block_number bigint not null,
    log_index    integer not null,
    owner        bytea not null,
    amount       numeric(39, 0) not null,
    cumulative   numeric(39, 0) not null,
    primary key (block_number, log_index)
);
create index claim_event_owner on claim_event (owner, cumulative desc);

-- One-way channels: their terms, and every movement. total: balance for deposits, claimed for claims.
create table payment_channel (
    block_number        bigint not null,
    log_index           integer not null,
    channel_id          bytea not null,
    payer               bytea not null,
    payer_authorizer    bytea not null,
    receiver            bytea not null,
    receiver_authorizer bytea not null,
    token               bytea not null,
    withdraw_delay      bigint not null,
    salt                bytea not null,
    primary key (block_number, log_index)
);
create index payment_channel_id on payment_channel (channel_id);
create index payment_channel_payer on payment_channel (payer);

create table payment_event (
    block_number bigint not null,
    log_index    integer not null,
    kind         text not null,
    channel_id   bytea not null,
    amount       numeric(39, 0) not null,
    total        numeric(39, 0),
    primary key (block_number, log_index)
);
create index payment_event_channel on payment_event (channel_id, block_number, log_index);

create table state_channel_event (
    block_number bigint not null,
    log_index    integer not null,
    kind         text not null check (kind in ('opened', 'topped_up', 'challenged', 'closed')),
    channel_id   bytea not null,
    party_a      bytea,
    party_b      bytea,
    token        bytea,
    challenge_period bigint,
    salt         bytea,
    deposit      numeric(39, 0),
    balance_a    numeric(39, 0),
    version      bigint,
    deadline     bigint,
    paid_b       numeric(39, 0),
    primary key (block_number, log_index)
);
create index state_channel_event_channel
    on state_channel_event (channel_id, block_number desc, log_index desc);

-- What came of a batch's data file. Nothing below exists unless the file hashes to the commitment.
create table batch_file (
    batch_id        bigint primary key references batch (batch_id) on delete cascade,
    state           text not null check (state in ('withheld', 'mismatch', 'verified')),
    reason          text,
    attempts        integer not null default 1,
    next_attempt_at timestamptz,
    previous        bytea,
    ancestor        bytea,
    statistics_root bytea,
    reports_root    bytea,
    data_hash       bytea,
    rules_hash      bytea,
    reading_count   integer,
    report_count    integer,
    rejected_count  integer,
    window_start    bigint,
    window_end      bigint,
    readings_root   bytea,
    leaves          bytea,
    exported_at     timestamptz,
    settled_at      timestamptz not null default now()
);
alter table batch_file alter column leaves set storage external;
create index batch_file_open on batch_file (next_attempt_at) where state = 'withheld';
create index batch_file_window on batch_file (window_end, window_start) where state = 'verified';

create table reading (
    batch_id    bigint not null references batch_file (batch_id) on delete cascade,
    position    integer not null,
    metric      integer not null,
    cell        bigint not null,  -- the unsigned 64 bits, read as signed
    device      bytea not null,
    observed_at bigint not null,
    value       integer not null,
    flag        smallint not null,
    primary key (batch_id, position)
);
create index reading_device on reading (device, metric, observed_at, batch_id, position);

create table rejection (
    batch_id    bigint not null references batch_file (batch_id) on delete cascade,
    ordinal     integer not null,
    device      bytea not null,
    sequence    numeric(20, 0) not null,
    metric      integer not null,
    cell        bigint not null,
    observed_at bigint not null,
    value       integer not null,
    reasons     integer not null,
    primary key (batch_id, ordinal)
);

create index batch_file_unexported on batch_file (batch_id) where state = 'verified' and exported_at is null;

-- Batches that a reorg took away after they had been exported: still to be taken out of the series.
create table retraction (
    batch_id bigint primary key
);

-- Hourly statistics, by batch, so that they go with it. hour: seconds since 1970, of its beginning.
create table rollup (
    batch_id bigint not null references batch_file (batch_id) on delete cascade,
    device   bytea not null,
    metric   integer not null,
    hour     bigint not null,
    count    integer not null,
    sum      bigint not null,
    min      integer not null,
    max      integer not null,
    primary key (device, metric, hour, batch_id)
);

-- Reward roots that were recomputed from verified batches.
create table reward_epoch (
    block_number bigint not null,
    log_index    integer not null,
    epoch        bigint not null,
    state        text not null check (state in ('verified', 'mismatch')),
    primary key (block_number, log_index),
    foreign key (block_number, log_index) references root_event on delete cascade
);
create table reward_leaf (
    block_number bigint not null,
    log_index    integer not null,
    position     integer not null,
    owner        bytea not null,
    cumulative   numeric(39, 0) not null,
    primary key (block_number, log_index, position),
    foreign key (block_number, log_index) references reward_epoch on delete cascade
);
create index reward_leaf_owner on reward_leaf (owner);

-- Vouchers that were paid with. Not of the chain: a reorg leaves them alone.
create table voucher (
    channel_id bytea primary key,
    amount     numeric(39, 0) not null,
    charged    numeric(39, 0) not null check (charged <= amount),
    signature  bytea not null,
    config     bytea not null,
    queries    bigint not null default 1,
    updated_at timestamptz not null default now()
);

create view device as
select r.device, r.key_type, r.public_key, r.block_number,
       coalesce(
           (select t.owner from device_event t
             where t.device = r.device and t.kind = 'transferred'
             order by t.block_number desc, t.log_index desc limit 1),
           r.owner) as owner,
       exists (select from device_event v where v.device = r.device and v.kind = 'revoked') as revoked
  from device_event r
 where r.kind = 'registered';

create view payment_balance as
select c.channel_id, c.block_number, c.payer, c.payer_authorizer, c.receiver, c.receiver_authorizer,
       c.token, c.withdraw_delay, c.salt,
       coalesce((select sum(case when e.kind = 'deposited' then e.amount
                                 when e.kind in ('refunded', 'withdrawn') then -e.amount
                                 else 0 end)
                   from payment_event e where e.channel_id = c.channel_id), 0) as balance,
       coalesce((select max(e.total) from payment_event e
                  where e.channel_id = c.channel_id and e.kind in ('claimed', 'redeemed')), 0) as claimed
  from (select distinct on (channel_id) * from payment_channel order by channel_id, block_number) c;

create view state_channel as
select o.channel_id, o.block_number, o.party_a, o.party_b, o.token, o.challenge_period, o.salt,
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

-- Epochs that stand: proposed and not vetoed afterwards.
create view epoch as
select p.*
  from root_event p
 where p.kind = 'proposed'
   and not exists (select from root_event v
                    where v.kind = 'vetoed' and v.epoch = p.epoch
                      and (v.block_number, v.log_index) > (p.block_number, p.log_index));
