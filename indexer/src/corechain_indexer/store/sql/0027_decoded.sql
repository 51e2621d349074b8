-- By which revision of the code the rows of each kind of event were made (kinds.py). Where a version has another one,
-- or a kind that is not here, it makes the rows anew from the raw logs, `through` a block so far; null where nothing is
-- left to do. All indexers before this one made the same rows of these.
create table decoded (
    topic    bytea primary key check (octet_length(topic) = 32),
    name     text not null,
    revision integer not null,
    through  bigint
);
insert into decoded (topic, name, revision) values
    ('\xd646ab027ffaeb2fb6f14079a68d7e42655dd466d5df804cd2cbb097cb3bd5a0', 'DeviceRegistered', 1),
    ('\x3a5e270c8fd1acaca62c98a28f126787c46a4b2c388061cec95d8e6cda751f86', 'DeviceMaterialised', 1),
    ('\x7ab03a308e96b53b653c63f5e715318cf14ddc9ccdc6ae06330ea5ecbc3a2d09', 'DeviceTransferred', 1),
    ('\xc840fe272e61f9c1642145cd8cf45f662c8664fbf6eeb9ca6e6dd8a6f6da052d', 'DeviceRevoked', 1),
    ('\xea0f87a6d82aeb0323e0cb91166b0a30c17c083f6364d0997fad7aac9129cd68', 'FleetEnrolled', 1),
    ('\x77dfc56d31cb78acf36a5ea0fd57b4c1e0df494d9863bd2aa0cd50ab6015ccd1', 'BatchCommitted', 1),
    ('\xf837fb125e1e47a60aca9d9daf1ac902080a4e891aed2848eeaee86153a526a7', 'BatchesCommitted', 1),
    ('\xe7afe094d4b405afe26c5b65c3b987d2873465e066622047cb3a679f880916cf', 'RootProposed', 1),
    ('\xea68b2b0e07913e77a41e97b7903e1bae4a0f95200bd5f101a87c00bd363cbb5', 'RootVetoed', 1),
    ('\x02562326da674b6e3216e2cde9b6c0886e89d37c00a65544b9a1a25f2148b632', 'RewardClaimed', 1),
    ('\x69d8248d5566bdb2ebc4d218970710d8378a2ff9b709a999e052b71970f808fa', 'PaymentChannelCreated', 1),
    ('\x6c2a09353b5e75e70d0b9778b80a413809bb235d46c211811c474b3346791d89', 'Deposited', 1),
    ('\x36bd546bb573e8921fdbfd934bbed62d872796b01792cd240cce27f79dd3eddd', 'VoucherClaimed', 1),
    ('\xa56801323018529594a4cdd8730f2c07104d7bfec59ac69cce1e49bdfbe3c72a', 'Redeemed', 1),
    ('\x7c8f15f5ffcc48a37c773a8a469e55569f995f8ee4d9c86b7b970c1ce5ea7d52', 'RedeemedMany', 1),
    ('\xa84286cf8ebc7903a663c77c8d99aa92b600d4c2fcca872a5d4a663db4eb394b', 'Refunded', 1),
    ('\xe4280d0d903c7f258f62b07c62f262377cbaa23f7791d78126e6446e0f0e3c23', 'WithdrawInitiated', 1),
    ('\x546ce1e2242cd930c196bd08b894443562d709b4fffe4f028a75a6d233efc6e3', 'WithdrawFinalized', 1),
    ('\x949107cf4adabaf826f42f55bd2297b3225a0cb4535555c649c5eb84784df109', 'StateChannelOpened', 1),
    ('\xd12d5279a09675951edfcc92dea7c54e7139702be77a50013e1451d84ce4a49c', 'StateChannelToppedUp', 1),
    ('\x8680a0872428bf837700aa6e5878127ff3c3dab274fe451a13b36fad1dbb22e3', 'StateChannelChallenged', 1),
    ('\x74e9aa18d6bb2c4887e76896296ce0a296a2e8315bb319b08b7607ff92fbef79', 'StateChannelClosed', 1);

-- What was paid by a redemption follows from what had been paid before it on the chain, whenever its row is made.
create or replace function complete_redemption() returns trigger language plpgsql as $$
begin
    select c.channel_id into strict new.channel_id
      from payment_channel c where substring(c.channel_id from 1 for 20) = new.channel_id limit 1;
    select new.total - coalesce(max(e.total), 0) into new.amount
      from payment_event e
     where e.channel_id = new.channel_id and e.kind in ('claimed', 'redeemed')
       and (e.block_number, e.log_index) < (new.block_number, new.log_index);
    return new;
end $$;
