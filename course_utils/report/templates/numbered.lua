-- Makes figures and tables of what show_figure and show_table left in a notebook, with a number
-- and a caption each, and gives Typst what pandoc's writer leaves out: alt texts.

local typst = FORMAT == "typst"
local numbers = { Figure = 0, Table = 0 }

local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"') .. '"'
end

-- Typst numbers by itself; HTML is given "Figure 3." in words, to be searched and read aloud.
local function numbered(kind, caption)
  local inlines = pandoc.utils.blocks_to_inlines(caption)
  if not typst then
    numbers[kind] = numbers[kind] + 1
    inlines:insert(1, pandoc.Space())
    inlines:insert(1, pandoc.Span(kind .. " " .. numbers[kind] .. ".", { class = "number" }))
  end
  return { long = { pandoc.Plain(inlines) } }
end

-- What is wider than a phone scrolls by itself, also for those who use the keyboard.
local function scrolling(label)
  -- A list of pairs keeps its order; a table with names would give other bytes in every run.
  return pandoc.Attr("", { "scroll" }, { { "role", "group" }, { "tabindex", "0" }, { "aria-label", label } })
end

-- Plain bars around a number or a norm would be set as relations, with gaps: make them fences.
local function fenced(tex)
  if tex:find "\\left%f[%A]" or tex:find "\\begin" or tex:find "\\big" then
    return tex
  end
  tex = tex:gsub("\\[lr]vert%f[%A]", "|"):gsub("\\[lr]Vert%f[%A]", "\\|")
  tex = tex:gsub("\\|(.-)\\|", "\\left\\Vert %1\\right\\Vert ")
  return (tex:gsub("|([^|]+)|", "\\left|%1\\right|"))
end

local function Math(math)
  local spoken = quoted(math.text)
  math.text = fenced(math.text)
  if typst then
    local equation = pandoc.write(pandoc.Pandoc { pandoc.Plain { math } }, "typst")
    return pandoc.RawInline("typst", "#[#set math.equation(alt: " .. spoken .. ")\n" .. equation .. "]")
  elseif math.mathtype == "DisplayMath" then
    return pandoc.Span(math, scrolling("Equation"))
  end
  return math
end

local function Image(image)
  if typst then
    local alt = pandoc.utils.stringify(image.caption)
    return pandoc.RawInline("typst", "#image(" .. quoted(image.src) .. ", alt: " .. quoted(alt) .. ")")
  end
end

-- A mark of where something comes from stays quiet.
local function Link(link)
  if typst and link.classes:includes "origin" then
    return pandoc.RawInline("typst", "#origin(<" .. link.target:sub(2) .. ">)")
  end
end

-- Column widths guessed from dashes are worse than what either writer finds by itself.
local function Table(table)
  for _, column in ipairs(table.colspecs) do
    column[2] = nil
  end
  for _, body in ipairs(table.bodies) do
    for _, row in ipairs(body.body) do
      for _, cell in ipairs(row.cells) do
        if #pandoc.utils.stringify(cell.contents) > 40 then
          cell.classes:insert "prose" -- may wrap on a page
        end
      end
    end
  end
  return table
end

-- In two columns, what is wide spans both.
local function spanning(div, block)
  if typst and div.classes:includes "wide" then
    return { pandoc.RawBlock("typst", "#wide["), block, pandoc.RawBlock("typst", "]") }
  end
  return block
end

local function Div(div)
  local caption = { table.unpack(div.content, 2) }
  if div.classes:includes "figure" then
    return spanning(div, pandoc.Figure(div.content[1], numbered("Figure", caption)))
  elseif div.classes:includes "table" and div.content[1].t == "Table" then -- without columns there is none
    div.content[1].caption = { long = caption }
    return spanning(div, div.content[1])
  elseif typst and div.classes:includes "document" then
    local frame = pandoc.Blocks { pandoc.RawBlock("typst", "#framed[") }
    frame:extend(div.content)
    frame:insert(pandoc.RawBlock("typst", "]"))
    return frame
  end
end

local function Captioned(table)
  if #table.caption.long > 0 then
    table.caption = numbered("Table", table.caption.long)
  end
  if typst then
    return table
  end
  local label = #table.caption.long > 0 and "Table " .. numbers.Table or "Table"
  return pandoc.Div(table, scrolling(label)), false
end

return {
  { Math = Math, Image = Image, Link = Link, Table = Table },
  { Div = Div },
  { Table = Captioned, traverse = "topdown" },
}
