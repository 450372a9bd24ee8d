// SPDX-License-Identifier: Apache-2.0

// Command oracle answers what BuildKit's and moby's own packages make of a text, for comparison.
//
// It reads one JSON request a line and writes one JSON answer a line, in the same order. Texts that
// are not UTF-8 travel as {"base64": "..."} both ways. Every answer has "error" where the package
// gave one, and "lines" where that error has a place.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Text is a string that keeps bytes which are not UTF-8 on its way through JSON.
type Text string

type encodedText struct {
	Base64 string `json:"base64"`
}

// MarshalJSON gives a JSON string, or {"base64": ...}.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(encodedText{base64.StdEncoding.EncodeToString([]byte(t))})
}

// UnmarshalJSON takes a JSON string, or {"base64": ...}.
func (t *Text) UnmarshalJSON(data []byte) error {
	var plain string
	if err := json.Unmarshal(data, &plain); err == nil {
		*t = Text(plain)
		return nil
	}
	var encoded encodedText
	if err := json.Unmarshal(data, &encoded); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(encoded.Base64)
	*t = Text(raw)
	return err
}

func texts(plain []string) []Text {
	out := []Text{}
	for _, item := range plain {
		out = append(out, Text(item))
	}
	return out
}

func strs(texts []Text) []string {
	out := []string{}
	for _, item := range texts {
		out = append(out, string(item))
	}
	return out
}

// Request is one question; which fields count depends on Op.
type Request struct {
	Op   string `json:"op"`
	Text Text   `json:"text"`
	// expand
	Words      bool            `json:"words"`
	Env        map[string]Text `json:"env"`
	Escape     string          `json:"escape"`
	RawQuotes  bool            `json:"raw_quotes"`
	RawEscapes bool            `json:"raw_escapes"`
	KeepUnset  bool            `json:"keep_unset"`
	KeepQuotes bool            `json:"keep_quotes"`
	// ignore: Text is a .dockerignore file where Rules is null
	Rules *[]Text `json:"rules"`
	Paths []Text  `json:"paths"`
	// match
	Pattern Text `json:"pattern"`
	Name    Text `json:"name"`
}

// Answer is what is sent back, field by field as the operation has it.
type Answer map[string]any

func failed(err error) Answer {
	answer := Answer{"error": Text(err.Error())}
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 {
		ranges := located.Locations[0]
		if len(ranges) > 0 {
			answer["lines"] = []int{ranges[0].Start.Line, ranges[len(ranges)-1].End.Line}
		}
	}
	return answer
}

type heredoc struct {
	Name           Text `json:"name"`
	Content        Text `json:"content"`
	Expand         bool `json:"expand"`
	Chomp          bool `json:"chomp"`
	FileDescriptor uint `json:"file_descriptor"`
}

func heredocs(found []parser.Heredoc) []heredoc {
	out := []heredoc{}
	for _, item := range found {
		out = append(out, heredoc{
			Text(item.Name), Text(item.Content), item.Expand, item.Chomp, item.FileDescriptor,
		})
	}
	return out
}

type node struct {
	Keyword  Text      `json:"keyword"`
	Flags    []Text    `json:"flags"`
	Words    []Text    `json:"words"`
	JSON     bool      `json:"json"`
	Heredocs []heredoc `json:"heredocs"`
	Start    int       `json:"start"`
	End      int       `json:"end"`
	Original Text      `json:"original"`
	Comments []Text    `json:"comments"`
	Child    *node     `json:"child"`
}

func convert(from *parser.Node) *node {
	to := &node{
		Keyword: Text(from.Value), Flags: texts(from.Flags), Words: []Text{},
		JSON: from.Attributes["json"], Heredocs: heredocs(from.Heredocs),
		Start: from.StartLine, End: from.EndLine,
		Original: Text(from.Original), Comments: texts(from.PrevComment),
	}
	for next := from.Next; next != nil; next = next.Next {
		if len(next.Children) > 0 {
			to.Child = convert(next.Children[0])
			continue
		}
		to.Words = append(to.Words, Text(next.Value))
	}
	return to
}

func parse(request *Request) Answer {
	result, err := parser.Parse(strings.NewReader(string(request.Text)))
	if err != nil {
		return failed(err)
	}
	nodes := []*node{}
	for _, child := range result.AST.Children {
		nodes = append(nodes, convert(child))
	}
	warnings := []Answer{}
	for _, warning := range result.Warnings {
		warnings = append(warnings, Answer{
			"message": Text(warning.Short), "line": warning.Location.Start.Line,
		})
	}
	return Answer{"nodes": nodes, "escape": string(result.EscapeToken), "warnings": warnings}
}

// syntax is what BuildKit takes for the file's syntax, in any of the forms it knows, and what it
// finds wrong with the check directive.
func syntax(request *Request) Answer {
	value, line, ranges, found := parser.DetectSyntax([]byte(request.Text))
	answer := Answer{"found": found, "value": Text(value), "whole": Text(line)}
	if found {
		answer["lines"] = []int{ranges[0].Start.Line, ranges[len(ranges)-1].End.Line}
	}
	checks, _, _, _ := parser.ParseDirective("check", []byte(request.Text))
	if _, err := linter.ParseLintOptions(checks); err != nil {
		answer["check_error"] = Text(err.Error())
	}
	return answer
}

type command struct {
	Type     string                `json:"type"`
	Text     Text                  `json:"text"`
	Mounts   []*instructions.Mount `json:"mounts,omitempty"`
	Network  string                `json:"network,omitempty"`
	Security string                `json:"security,omitempty"`
	// What reading the mounts says once every variable stands for itself.
	MountError string          `json:"mount_error,omitempty"`
	Fields     json.RawMessage `json:"fields,omitempty"`
}

func describe(from instructions.Command) command {
	to := command{Type: strings.TrimPrefix(fmt.Sprintf("%T", from), "*instructions.")}
	if named, ok := from.(fmt.Stringer); ok {
		to.Text = Text(named.String())
	}
	if run, ok := from.(*instructions.RunCommand); ok {
		same := func(word string) (string, error) { return word, nil }
		if err := run.Expand(same); err != nil {
			to.MountError = err.Error()
		}
		to.Mounts = instructions.GetMounts(run)
		to.Network = string(instructions.GetNetwork(run))
		to.Security = instructions.GetSecurity(run)
	}
	if fields, err := json.Marshal(from); err == nil {
		to.Fields = fields
	}
	return to
}

func typed(request *Request) Answer {
	result, err := parser.Parse(strings.NewReader(string(request.Text)))
	if err != nil {
		return failed(err)
	}
	stages, arguments, err := instructions.Parse(result.AST, nil)
	if err != nil {
		return failed(err)
	}
	out := []Answer{}
	for _, stage := range stages {
		commands := []command{}
		for _, item := range stage.Commands {
			commands = append(commands, describe(item))
		}
		out = append(out, Answer{
			"name": Text(stage.Name), "base": Text(stage.BaseName),
			"platform": Text(stage.Platform), "commands": commands,
		})
	}
	first := []command{}
	for _, argument := range arguments {
		first = append(first, describe(&argument))
	}
	return Answer{"stages": out, "arguments": first}
}

func names(set map[string]struct{}) []Text {
	out := []string{}
	for name := range set {
		out = append(out, name)
	}
	slices.Sort(out)
	return texts(out)
}

func expand(request *Request) Answer {
	escape := '\\'
	if request.Escape != "" {
		escape, _ = utf8.DecodeRuneInString(request.Escape)
	}
	lex := shell.NewLex(escape)
	lex.RawQuotes = request.RawQuotes
	lex.RawEscapes = request.RawEscapes
	lex.SkipUnsetEnv = request.KeepUnset
	lex.SkipProcessQuotes = request.KeepQuotes
	pairs := []string{}
	for name, value := range request.Env {
		pairs = append(pairs, name+"="+string(value))
	}
	slices.Sort(pairs)
	variables := shell.EnvsFromSlice(pairs)
	if request.Words {
		words, err := lex.ProcessWords(string(request.Text), variables)
		if err != nil {
			return failed(err)
		}
		return Answer{"words": texts(words)}
	}
	result, err := lex.ProcessWordWithMatches(string(request.Text), variables)
	if err != nil {
		return failed(err)
	}
	return Answer{
		"text": Text(result.Result), "used": names(result.Matched),
		"unmatched": names(result.Unmatched),
	}
}

func ignore(request *Request) Answer {
	var rules []string
	if request.Rules != nil {
		rules = strs(*request.Rules)
	} else {
		read, err := ignorefile.ReadAll(bytes.NewReader([]byte(request.Text)))
		if err != nil {
			return failed(err)
		}
		rules = read
	}
	matcher, err := patternmatcher.New(rules)
	if err != nil {
		answer := failed(err)
		answer["rules"] = texts(rules)
		return answer
	}
	excluded := []bool{}
	for _, path := range request.Paths {
		hit, err := matcher.MatchesOrParentMatches(string(path))
		if err != nil {
			answer := failed(err)
			answer["rules"] = texts(rules)
			return answer
		}
		excluded = append(excluded, hit)
	}
	walked, err := walk(matcher, request.Paths)
	if err != nil {
		answer := failed(err)
		answer["rules"] = texts(rules)
		return answer
	}
	return Answer{"rules": texts(rules), "excluded": excluded, "walked": walked}
}

// walk asks as BuildKit's transfer of a context does: from the top down to each path, handing on
// what was found for the directory above.
func walk(matcher *patternmatcher.PatternMatcher, paths []Text) ([]bool, error) {
	hidden := []bool{}
	for _, path := range paths {
		var hit bool
		var info patternmatcher.MatchInfo
		var err error
		for i, character := range string(path) + "/" {
			if character != '/' {
				continue
			}
			hit, info, err = matcher.MatchesUsingParentResults(string(path)[:i], info)
			if err != nil {
				return nil, err
			}
		}
		hidden = append(hidden, hit)
	}
	return hidden, nil
}

func match(request *Request) Answer {
	hit, err := filepath.Match(string(request.Pattern), string(request.Name))
	if err != nil {
		return failed(err)
	}
	return Answer{"matches": hit}
}

var operations = map[string]func(*Request) Answer{
	"parse": parse, "syntax": syntax, "instructions": typed, "expand": expand,
	"ignore": ignore, "match": match,
}

func answer(line []byte) (out Answer) {
	defer func() {
		if fault := recover(); fault != nil {
			out = Answer{"panic": fmt.Sprint(fault)}
		}
	}()
	var request Request
	if err := json.Unmarshal(line, &request); err != nil {
		return Answer{"fault": err.Error()}
	}
	operation, found := operations[request.Op]
	if !found {
		return Answer{"fault": "no such operation: " + request.Op}
	}
	return operation(&request)
}

func main() {
	reader := bufio.NewReaderSize(os.Stdin, 1<<20)
	writer := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(writer)
	for {
		line, err := reader.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := encoder.Encode(answer(line)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if reader.Buffered() == 0 {
				_ = writer.Flush()
			}
		}
		if err != nil {
			_ = writer.Flush()
			return
		}
	}
}
