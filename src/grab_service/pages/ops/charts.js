// The curves of the last minutes, drawn by uPlot.

const SPAN_S = 600;
const POINTS_MAX = 1200;
const CHINA = "Asia/Shanghai";

/** A chart of curves over time; series are [label, colour]. */
export class Chart {
  constructor(place, series) {
    this.place = place;
    this.rows = [];
    const axis = { stroke: "#b7c3d4", grid: { stroke: "#26344a", width: 1 }, ticks: { stroke: "#26344a", width: 1 }, font: "13px sans-serif" };
    this.plot = new uPlot({
      ...this.size(),
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), CHINA),
      legend: { live: false },
      cursor: { show: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(10, (high ?? 0) * 1.1)] } },
      axes: [
        { ...axis, space: 90, values: (_, marks) => marks.map((s) => timeOf(s * 1000)) },
        { ...axis, size: 64, values: (_, marks) => marks.map((value) => value.toLocaleString("en-US")) },
      ],
      series: [{}, ...series.map(([label, stroke, dash]) => ({ label, stroke, dash, width: 2, spanGaps: true, points: { show: false } }))],
    }, [[], ...series.map(() => [])], place);
    new ResizeObserver(() => this.plot.setSize(this.size())).observe(place);
  }

  size() {
    const legend = this.plot?.root.querySelector(".u-legend").offsetHeight ?? 34; // more than one line on a phone
    return { width: Math.max(200, this.place.clientWidth), height: Math.max(140, this.place.clientHeight - legend) };
  }

  /** Add a point: the time in ms and a value for each curve, null for none. */
  add(atMs, values) {
    const last = this.rows.at(-1);
    if (last && atMs / 1000 <= last[0]) return;
    this.rows.push([atMs / 1000, ...values]);
    if (this.rows.length > POINTS_MAX) this.rows.shift();
  }

  draw(nowMs) {
    const fromS = nowMs / 1000 - SPAN_S;
    this.rows = this.rows.filter((row) => row[0] >= fromS);
    if (!this.rows.length) return;
    const columns = this.plot.series.map((_, i) => this.rows.map((row) => row[i]));
    this.plot.setData(columns, false);
    this.plot.batch(() => {
      this.plot.setScale("x", { min: Math.max(fromS, Math.min(this.rows[0][0], nowMs / 1000 - 60)), max: nowMs / 1000 });
      this.plot.setScale("y", { min: null, max: null });
    });
  }
}

const clockFormat = new Intl.DateTimeFormat("zh-CN", { timeZone: CHINA, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** Write the time of day in China. */
export const timeOf = (ms) => clockFormat.format(ms);
