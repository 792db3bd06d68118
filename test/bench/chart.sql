-- test/bench/chart.sql
-- The clients' part of bench.result as a chart in SVG: transactions a second, medians
-- of the rounds with a line from the least to the most, a panel for each
-- distribution of accounts, a group for each number of clients, a bar for each caller.

WITH caller (n, contender, colour) AS (VALUES
    (0, 'submit_event', '#1b6ca8'), (1, 'append_event', '#62a8d8'), (2, 'optimistic', '#e0a458'),
    (3, 'update', '#c9763d'), (4, 'lock', '#9c4a2f'), (5, 'floor', '#a8a8a8')
), panel (y, title, pattern) AS (VALUES
    (60, 'uniform over all accounts', 'clients: uniform, %'), (330, 'Zipf', 'clients: Zipf, %'),
    (600, 'one hot account', 'clients: one hot account, %')
), clients (x, n) AS (VALUES (70, 1), (330, 8), (590, 64)
), figure AS (
    SELECT workload, contender, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median, min(value), max(value)
      FROM bench.result WHERE workload LIKE 'clients: %' AND workload NOT LIKE '%disk' AND unit = 'tps' GROUP BY 1, 2
), bar AS (
    SELECT c.x + k.n * 38 AS x, p.y + 200 AS foot, 180 / (SELECT max(max) FROM figure) AS scale, k.colour, f.*
      FROM panel p, clients c, caller k, figure f
     WHERE f.workload = replace(p.pattern, '%', c.n::text) AND f.contender = k.contender
), part (n, line) AS (
    SELECT 0, '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 880" font-family="sans-serif" font-size="12">'
           '<rect width="840" height="880" fill="white"/>'
           '<text x="20" y="24" font-size="16">Transactions a second, one event each</text>'
    UNION ALL
    SELECT 1, format('<rect x="%s" y="36" width="12" height="12" fill="%s"/><text x="%s" y="46">%s</text>', 20 + n * 125, colour, 36 + n * 125, contender)
      FROM caller
    UNION ALL
    SELECT 2, format('<text x="20" y="%s" font-size="14">%s</text><line x1="60" x2="820" y1="%s" y2="%s" stroke="black"/>', y + 16, title, y + 200, y + 200)
      FROM panel
    UNION ALL
    SELECT 3, format('<text x="%s" y="%s">%s client%s</text>', x + 70, y + 218, n, CASE WHEN n > 1 THEN 's' END)
      FROM panel, clients
    UNION ALL
    SELECT 4, format('<rect x="%s" y="%s" width="30" height="%s" fill="%s"/><line x1="%s" x2="%s" y1="%s" y2="%s" stroke="black"/><text x="%s" y="%s" font-size="10" text-anchor="middle">%s</text>',
                     x, round((foot - median * scale)::numeric, 1), round((median * scale)::numeric, 1), colour,
                     x + 15, x + 15, round((foot - min * scale)::numeric, 1), round((foot - max * scale)::numeric, 1),
                     x + 15, round((foot - max * scale - 3)::numeric, 1), to_char(median, 'FM99,999'))
      FROM bar
    UNION ALL
    SELECT 5, '</svg>'
)
SELECT line FROM part ORDER BY n;
