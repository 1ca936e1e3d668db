-- A game on LÖVE's own `enet`: joins, publishes one event of each kind, leaves when told to.
--
--   love DIRECTORY PORT
--
-- Prints each message that comes as a line of its channel and its text, and how the connection ends.

local enet = require("enet")

local host = enet.host_create()
host:connect("127.0.0.1:" .. arg[2], 2)

local function received(event)
    print(event.channel, event.data)
    if event.data:find('"type":"joined"', 1, true) then
        event.peer:send('{"type":"publish","room":"arena","event":"shot","data":1,"echo":false}', 0, "reliable")
        event.peer:send('{"type":"publish","room":"arena","event":"move","data":2,"echo":false}', 1, "unsequenced")
    elseif event.data:find('"event":"leave"', 1, true) then
        event.peer:disconnect(7)
    end
end

function love.run()
    return function()
        local event = host:service(100)
        if event and event.type == "connect" then
            event.peer:send('{"type":"hello","ref":1,"name":"Luna"}')
            event.peer:send('{"type":"join","ref":2,"room":"arena"}')
        elseif event and event.type == "receive" then
            received(event)
        elseif event and event.type == "disconnect" then
            print("disconnected")
            return 0
        end
    end
end
