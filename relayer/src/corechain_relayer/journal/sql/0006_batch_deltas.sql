-- What a batch changes for its devices (journal/delta.py), until it is folded into device_sequence,
-- report_digest and quality_state. External: digests and ids do not compress, trying costs time.
create table batch_delta (
    batch_id  bigint primary key references batch (batch_id),
    delta     bytea not null,
    sealed_at timestamptz not null default now()
);
alter table batch_delta alter column delta set storage external;
