-- Whether the node ever named its final block by the tag `finalized`. From then on nothing is final by its depth: an
-- answer that fails right after a restart must not make blocks final that are not. A rebuild begins anew.
alter table chain_mark add column tagged boolean not null default false;
