-- A game without a screen.
function love.conf(game)
    game.window = nil
    for _, module in ipairs({ "window", "graphics", "audio", "sound", "joystick", "image", "font", "video" }) do
        game.modules[module] = false
    end
end
