// How one sample is taken; median, 95th percentile and ratio to a limit: what the benchmarks say of their samples.

/** The value that a share `p` of `samples` does not exceed (nearest rank); undefined when there are none. */
export function quantile(samples, p) {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)];
}

export const median = (samples) => quantile(samples, 0.5);

/** How long `work` takes, in µs. */
export async function timed(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) * 1000;
}

/**
 * One line of the result.
 * @param {string} name
 * @param {string} unit
 * @param {number[]} samples
 * @param {{ limit?: { name: string, samples: number[] }, aim?: { ratio?: number, value?: number }, perRun?: boolean }} beside
 * `limit` is what the figure could not be better than, measured in the same run; `aim` bounds the ratio of the medians
 * or the median itself. `perRun` tells that each sample sums up a whole run.
 */
export function figure(name, unit, samples, { limit, aim, perRun = false } = {}) {
  const line = { name, unit, samples: samples.length, median: median(samples), p95: quantile(samples, 0.95) };
  if (perRun) line.span = [Math.min(...samples), Math.max(...samples)];
  if (limit) {
    const its = median(limit.samples);
    Object.assign(line, { limit: { name: limit.name, median: its, p95: quantile(limit.samples, 0.95) }, ratio: line.median / its });
  }
  if (aim) Object.assign(line, { aim, reached: aim.ratio === undefined ? line.median <= aim.value : line.ratio <= aim.ratio });
  return line;
}
