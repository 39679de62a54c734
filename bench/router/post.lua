-- wrk's requests: one chat, with the keys of BENCH_KEYS (commas between them) in turns.
local path = "/v1/chat/completions"
local body = '{"model":"' .. os.getenv("BENCH_MODEL") .. '","messages":[' ..
  '{"role":"system","content":"You sort support tickets by what they are about."},' ..
  '{"role":"user","content":"My parcel was to come on Monday, and the page that shows where it is ' ..
  'has not changed for a week. Please look into it."}],"max_tokens":32,"temperature":0}'
local requests = {}
local turn = 0

function init()
  for key in string.gmatch(os.getenv("BENCH_KEYS"), "[^,]+") do
    local headers = { ["content-type"] = "application/json", authorization = "Bearer " .. key }
    requests[#requests + 1] = wrk.format("POST", path, headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
