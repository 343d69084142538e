-- Asks guestpass about each request; HAProxy 2.6 or later.

local ADDRESS = "http://127.0.0.1:8080/guestpass/auth/haproxy"

local VARIABLES = {
    ["x-guest-subject"] = "txn.guest_subject",
    ["x-guest-name"] = "txn.guest_name",
    ["x-guest-email"] = "txn.guest_email",
    ["x-guest-token"] = "txn.guest_token",
    ["x-guest-token-expires-at"] = "txn.guest_expires_at",
    ["x-guest-token-expires-in"] = "txn.guest_expires_in",
    ["set-cookie"] = "txn.guest_cookie",
    ["vary"] = "txn.guest_vary",
    ["access-control-expose-headers"] = "txn.guest_expose",
}

-- What frames this request or its answer is between HAProxy and guestpass.
local FRAMING = {
    ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true,
    ["keep-alive"] = true, ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

-- HAProxy counts the values of a field from 0, and its HTTP client wants a list from 1.
local function without_framing(fields)
    local kept = {}
    for name, values in pairs(fields) do
        if not FRAMING[name] then
            kept[name] = {}
            for i = 0, #values do table.insert(kept[name], values[i]) end
        end
    end
    return kept
end

core.register_action("guestpass", { "http-req" }, function(txn)
    local question = without_framing(txn.http:req_get_headers())
    question["x-original-method"] = { txn.sf:method() }
    question["x-original-uri"] = { txn.sf:pathq() }
    question["x-forwarded-host"] = { txn.sf:req_hdr("host") or "" }
    local answer = core.httpclient():get({ url = ADDRESS, headers = question })

    if answer.status == 200 then
        for name, variable in pairs(VARIABLES) do
            local values = answer.headers[name]
            if values and values[0] ~= "" then txn:set_var(variable, values[0]) end
        end
        return
    end

    -- No answer has no status that a client could be told.
    local known = answer.status and answer.status >= 400
    local reply = txn:reply({ status = known and answer.status or 503 })
    if known then
        for name, values in pairs(without_framing(answer.headers)) do
            for _, value in ipairs(values) do reply:add_header(name, value) end
        end
        reply:set_body(answer.body)
    end
    txn:done(reply)
end)
