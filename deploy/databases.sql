create database indexer; -- beside relayer, which POSTGRES_DB makes
