package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func ask(t *testing.T, h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		t.Fatalf("%v in %q", err, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	return value
}

func TestLifeOfAMovie(t *testing.T) {
	h := NewHandler(NewStore(seed()...))

	w := ask(t, h, "POST", "/movies", `{"title": "Stalker", "year": 1979}`)
	if w.Code != http.StatusCreated || w.Header().Get("Location") != "/movies/4" {
		t.Fatalf("create: %d, location %q", w.Code, w.Header().Get("Location"))
	}
	if m := decode[Movie](t, w); m.ID != "4" || m.Title != "Stalker" || m.Director != nil {
		t.Errorf("create gave %+v", m)
	}

	w = ask(t, h, "PUT", "/movies/4",
		`{"id": "9", "title": "Mirror", "director": {"firstName": "Andrei", "lastName": "Tarkovsky"}}`)
	if m := decode[Movie](t, w); w.Code != http.StatusOK || m.ID != "4" || m.Year != 0 {
		t.Errorf("update: %d %+v", w.Code, m)
	}

	w = ask(t, h, "GET", "/movies/4", "")
	if m := decode[Movie](t, w); w.Code != http.StatusOK || m.Director.LastName != "Tarkovsky" {
		t.Errorf("get: %d %+v", w.Code, m)
	}

	w = ask(t, h, "GET", "/movies", "")
	if all := decode[[]Movie](t, w); w.Code != http.StatusOK || len(all) != 4 {
		t.Errorf("list: %d, %d movies", w.Code, len(all))
	}

	if w = ask(t, h, "DELETE", "/movies/4", ""); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("delete: %d %q", w.Code, w.Body)
	}
	if w = ask(t, h, "GET", "/movies/4", ""); w.Code != http.StatusNotFound {
		t.Errorf("get after delete: %d", w.Code)
	}
}

func TestAnEmptyStoreListsAsAnEmptyArray(t *testing.T) {
	w := ask(t, NewHandler(NewStore()), "GET", "/movies", "")
	if got := strings.TrimSpace(w.Body.String()); got != "[]" {
		t.Errorf("got %q", got)
	}
}

func TestMistakesAreAnsweredInJSON(t *testing.T) {
	h := NewHandler(NewStore(seed()...))
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		message                  string
	}{
		{"unknown movie", "GET", "/movies/99", "", 404, `no movie with id "99"`},
		{"id that is no number", "GET", "/movies/x", "", 404, `no movie with id "x"`},
		{"id written another way", "GET", "/movies/01", "", 404, `no movie with id "01"`},
		{"update of an unknown movie", "PUT", "/movies/99", `{"title": "x"}`, 404, `no movie with id "99"`},
		{"delete of an unknown movie", "DELETE", "/movies/99", "", 404, `no movie with id "99"`},
		{"unknown page", "GET", "/films", "", 404, "no such page: /films"},
		{"wrong method", "PATCH", "/movies/1", "", 405, "PATCH is not allowed here"},
		{"empty body", "POST", "/movies", "", 400, "the body is empty"},
		{"no JSON", "POST", "/movies", "{", 400, "the body is not a movie"},
		{"wrong type", "POST", "/movies", `{"title": 7}`, 400, "the body is not a movie"},
		{"unknown field", "POST", "/movies", `{"titel": "x"}`, 400, `unknown field "titel"`},
		{"two values", "POST", "/movies", `{"title": "x"} {}`, 400, "more than one value"},
		{"no title", "POST", "/movies", `{"title": " "}`, 422, "a movie needs a title"},
		{"large body", "POST", "/movies", `{"title": "` + strings.Repeat("x", maxBody) + `"}`, 413, "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(t, h, c.method, c.path, c.body)
			if w.Code != c.status {
				t.Errorf("status %d, want %d", w.Code, c.status)
			}
			if got := decode[map[string]string](t, w)["error"]; !strings.Contains(got, c.message) {
				t.Errorf("message %q, want %q", got, c.message)
			}
		})
	}
	if all := decode[[]Movie](t, ask(t, h, "GET", "/movies", "")); len(all) != len(seed()) {
		t.Errorf("a mistake changed the store: %v", titles(all))
	}
}
