-- How sure what is mirrored is: blocks up to `final` are never undone, up to `safe` hardly ever, as the node calls
-- them by these tags. Numbers of mirrored blocks; -1 while there is none.
create table chain_mark (
    one   boolean primary key default true check (one),
    safe  bigint not null default -1,
    final bigint not null default -1
);
insert into chain_mark default values;
update chain_mark set final = coalesce((select max(number) from block where final), -1);
update chain_mark set safe = final;

-- Of an event in a block. The marks are arguments: a function that looks them up itself is not inlined, and would
-- look them up for every row.
create function finality_of(block bigint, safe bigint, final bigint) returns text immutable language sql as $$
    select case when block <= final then 'finalised' when block <= safe then 'safe' else 'pending' end
$$;
