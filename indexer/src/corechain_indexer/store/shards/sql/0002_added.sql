-- Of how many shards this one is, once it was one of fewer; null: of as many as when it was made.
alter table shard add column count integer;

-- As owner_of of databases.py.
create function owner_of(device bytea, count integer) returns integer immutable strict language sql as $$
    select (get_byte(device, 18) * 256 + get_byte(device, 19)) & (count - 1)
$$;

-- In each question of who divides by `known` shards. It fails, with the count, when there are more since: rows may have
-- moved. Stable: it sees the shard as of the very moment as which the question sees the rows.
create function divided_by(known integer) returns boolean stable language plpgsql as $$
declare
    counted integer;
begin
    select count into counted from shard where count > known;
    if counted is not null then
        raise exception using errcode = 'CC001', message = counted::text;
    end if;
    return true;
end
$$;
