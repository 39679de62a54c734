// The engine that all routers are put in front of: OpenAI's shapes, no model, no waiting.
// node backend.js PORT [TOKENS]: whole answers come at once, streams as TOKENS chunks.
'use strict';
const http = require('http');

const port = Number(process.argv[2]);
const tokens = Number(process.argv[3] || 32);
const words = Array.from({ length: tokens }, (_, n) => ` word${n}`);
const usage = { prompt_tokens: 30, completion_tokens: tokens, total_tokens: 30 + tokens };

function whole(model) {
  const message = { role: 'assistant', content: words.join('') };
  return JSON.stringify({
    id: 'chatcmpl-0', object: 'chat.completion', created: 1, model,
    choices: [{ index: 0, message, logprobs: null, finish_reason: 'length' }], usage,
  });
}

function chunk(model, choices, more) {
  const said = { id: 'chatcmpl-0', object: 'chat.completion.chunk', created: 1, model, choices };
  return `data: ${JSON.stringify({ ...said, ...more })}\n\n`;
}

function stream(response, asked) {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  for (const content of words) {
    if (response.destroyed) return;
    const choice = { index: 0, delta: { content }, logprobs: null, finish_reason: null };
    response.write(chunk(asked.model, [choice]));
  }
  const last = { index: 0, delta: {}, logprobs: null, finish_reason: 'length' };
  response.write(chunk(asked.model, [last]));
  if (asked.stream_options && asked.stream_options.include_usage) {
    response.write(chunk(asked.model, [], { usage }));
  }
  response.end('data: [DONE]\n\n');
}

function answer(request, response, body) {
  let asked = {};
  try { asked = JSON.parse(body); } catch (error) { /* answered like an empty one */ }
  if (asked.stream) return stream(response, asked);
  const text = whole(asked.model || 'base');
  response.writeHead(200, {
    'content-type': 'application/json', 'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

const server = http.createServer((request, response) => {
  if (request.method === 'GET') {
    if (request.url !== '/v1/models') return response.end('ok');
    const data = [{ id: 'base', object: 'model', created: 1, owned_by: 'vllm' }];
    response.setHeader('content-type', 'application/json');
    return response.end(JSON.stringify({ object: 'list', data }));
  }
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => answer(request, response, Buffer.concat(parts)));
});
server.keepAliveTimeout = 0;
server.listen({ port, host: '127.0.0.1', backlog: 4096 });
