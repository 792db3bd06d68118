-- test/bench/result.sql
-- The table that the figures go into.

CREATE SCHEMA bench;
CREATE TABLE bench.result (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    workload  text NOT NULL,
    contender text NOT NULL,
    unit      text NOT NULL,
    round     integer NOT NULL,
    value     float8 NOT NULL
);
