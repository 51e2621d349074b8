create database indexer; -- beside relayer, which POSTGRES_DB makes
create database challenger; -- of its own: it shares no journal with the relayer
