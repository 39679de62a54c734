// Streams: node streams.js URL KEYS MODEL AT_ONCE TOTAL; prints one JSON object.
// KEYS are taken in turns, one a request, with commas between them.
'use strict';
const http = require('http');

const [, , base, keyList, model, atOnce, total] = process.argv;
const keys = keyList.split(',');
const url = new URL('/v1/chat/completions', base);
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(atOnce) });
const body = JSON.stringify({
  model,
  stream: true,
  stream_options: { include_usage: true },
  max_tokens: 32,
  messages: [{ role: 'user', content: 'Where is my parcel?' }],
});
const seen = { first: [], whole: [], failed: 0, done: 0 };
let started = 0;
let ended = 0;
const began = process.hrtime.bigint();

const since = (start) => Number(process.hrtime.bigint() - start) / 1e6;

function percentile(values, share) {
  values.sort((a, b) => a - b);
  return values.length ? values[Math.max(0, Math.ceil(values.length * share) - 1)] : null;
}

function over() {
  ended += 1;
  if (ended < Number(total)) return next();
  console.log(JSON.stringify({
    streams_per_second: Number(total) / (since(began) / 1e3),
    first_p50_ms: percentile(seen.first, 0.5),
    first_p99_ms: percentile(seen.first, 0.99),
    whole_p50_ms: percentile(seen.whole, 0.5),
    failed: seen.failed,
    done: seen.done,
  }));
  process.exit(0);
}

function next() {
  if (started >= Number(total)) return;
  const key = keys[started % keys.length];
  started += 1;
  const start = process.hrtime.bigint();
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    authorization: `Bearer ${key}`,
  };
  let tail = '';
  let settled = false;
  const settle = (failed) => {
    if (settled) return;
    settled = true;
    if (failed) seen.failed += 1;
    else seen.whole.push(since(start));
    over();
  };
  const request = http.request(url, { agent, method: 'POST', headers }, (response) => {
    let any = false;
    response.on('data', (data) => {
      if (!any) seen.first.push(since(start));
      any = true;
      tail = (tail + data.toString('latin1')).slice(-64);
    });
    response.on('end', () => {
      if (tail.includes('data: [DONE]')) seen.done += 1;
      settle(response.statusCode !== 200);
    });
    response.on('error', () => settle(true));
  });
  request.on('error', () => settle(true));
  request.end(body);
}

for (let n = 0; n < Number(atOnce); n += 1) next();
