-- Makes figures and tables of what show_figure and show_table left in a notebook, with a number
-- and a caption each, and gives Typst what pandoc's writer leaves out: alt texts.

local typst = FORMAT == "typst"
local numbers = { Figure = 0, Table = 0 }

local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"') .. '"'
end

-- Typst numbers by itself; HTML is given "Figure 3." in words, so that it can be searched and read aloud.
local function captioned(kind, caption)
  local inlines = pandoc.utils.blocks_to_inlines(caption)
  if not typst then
    numbers[kind] = numbers[kind] + 1
    local label = pandoc.Span(kind .. " " .. numbers[kind] .. ".", { class = "number" })
    inlines:insert(1, pandoc.Space())
    inlines:insert(1, label)
  end
  return { long = { pandoc.Plain(inlines) } }
end

local function Math(math)
  if typst then
    local equation = pandoc.write(pandoc.Pandoc { pandoc.Plain { math } }, "typst")
    return pandoc.RawInline("typst",
      "#[#set math.equation(alt: " .. quoted(math.text) .. ")\n" .. equation .. "]")
  end
end

local function Image(image)
  if typst then
    return pandoc.RawInline("typst",
      "image(" .. quoted(image.src) .. ", alt: " .. quoted(image.attributes.alt) .. ")")
  end
end

-- Column widths guessed from dashes are worse than what either writer finds by itself.
local function Table(table)
  for _, column in ipairs(table.colspecs) do
    column[2] = nil
  end
  return table
end

local function Div(div)
  local caption = { table.unpack(div.content, 2) }
  if div.classes:includes "figure" then
    return pandoc.Figure(div.content[1], captioned("Figure", caption))
  elseif div.classes:includes "table" then
    div.content[1].caption = captioned("Table", caption)
    return div.content[1]
  end
end

-- A table wider than a phone scrolls by itself, also for those who use the keyboard.
local function scrolling(table)
  if not typst then
    return pandoc.Div(table, { class = "scroll", role = "region", tabindex = "0", ["aria-label"] = "Table" })
  end
end

return {
  { Math = Math, Image = Image, Table = Table },
  { Div = Div, traverse = "topdown" },
  { Table = scrolling },
}
