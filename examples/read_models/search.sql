-- search.sql
-- Events by the words of their payloads.
--
-- jsonb_to_tsvector takes the strings of a payload apart, '["string"]', or all of its values and keys, '["all"]'.
-- Name the configuration: the default one is a session's. 'simple' leaves words as they are, 'english' stems them.
-- A tsvector holds less than 1 MB. A payload that might not fit has no words here: an event that always
-- fails would stop the projection.

\set ON_ERROR_STOP on
BEGIN;
CREATE TABLE model.event_words_v1 (
    aggregate_id text COLLATE "C",
    version      bigint,
    event_type   text NOT NULL,
    occurred_at  timestamptz NOT NULL,
    words        tsvector,
    PRIMARY KEY (aggregate_id, version)
);
CREATE INDEX ON model.event_words_v1 USING gin (words);
CREATE VIEW model.event_words AS SELECT aggregate_id, version, event_type, occurred_at, words FROM model.event_words_v1;
GRANT SELECT ON model.event_words TO shop_reader;

CREATE FUNCTION model.event_words_v1(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.event_words_v1
    SELECT e.aggregate_id, e.version, e.event_type, e.occurred_at,
           CASE WHEN octet_length(CAST(e.payload AS text)) <= 250000
                THEN jsonb_to_tsvector('simple', e.payload, '["string"]') END
      FROM unnest(events) e WHERE e.payload <> '{}'
$$;
SELECT pointstore.create_projection('event_words_v1', 'model.event_words_v1(pointstore.feed_event[])');
COMMIT;

-- the newest ten in which all of these words stand:
--   SELECT aggregate_id, version, event_type, occurred_at FROM model.event_words
--    WHERE words @@ websearch_to_tsquery('simple', 'green tea') ORDER BY occurred_at DESC LIMIT 10;
