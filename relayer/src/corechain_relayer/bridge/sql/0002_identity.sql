-- Stations behind a broker or a port without tokens are found by what they say they are.
create index station_identity on station (format, lower(identity));
