-- How many signals of each kind were noticed within the last day.
SELECT kind, count(*) AS signals FROM signals WHERE noticed_at > now() - interval '1 day' GROUP BY kind
