package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/mux"
)

const maxBody = 1 << 20

type api struct {
	store *Store
}

// NewHandler serves the movies of store as JSON.
func NewHandler(store *Store) http.Handler {
	a := &api{store: store}
	r := mux.NewRouter()
	r.HandleFunc("/movies", a.list).Methods(http.MethodGet)
	r.HandleFunc("/movies", a.create).Methods(http.MethodPost)
	r.HandleFunc("/movies/{id}", a.get).Methods(http.MethodGet)
	r.HandleFunc("/movies/{id}", a.update).Methods(http.MethodPut)
	r.HandleFunc("/movies/{id}", a.remove).Methods(http.MethodDelete)
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "no such page: "+r.URL.Path)
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusMethodNotAllowed, r.Method+" is not allowed here")
	})
	return r
}

func (a *api) list(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.store.All())
}

func (a *api) create(w http.ResponseWriter, r *http.Request) {
	movie, ok := readMovie(w, r)
	if !ok {
		return
	}
	movie = a.store.Add(movie)
	w.Header().Set("Location", "/movies/"+movie.ID)
	writeJSON(w, http.StatusCreated, movie)
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	movie, ok := a.store.Get(movieID(r))
	if !ok {
		writeNoMovie(w, r)
		return
	}
	writeJSON(w, http.StatusOK, movie)
}

func (a *api) update(w http.ResponseWriter, r *http.Request) {
	movie, ok := readMovie(w, r)
	if !ok {
		return
	}
	movie, ok = a.store.Replace(movieID(r), movie)
	if !ok {
		writeNoMovie(w, r)
		return
	}
	writeJSON(w, http.StatusOK, movie)
}

func (a *api) remove(w http.ResponseWriter, r *http.Request) {
	if !a.store.Delete(movieID(r)) {
		writeNoMovie(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// movieID returns the ID in the path, or 0, which no movie has.
func movieID(r *http.Request) int {
	text := mux.Vars(r)["id"]
	id, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(id) != text {
		return 0
	}
	return id
}

// readMovie takes a movie from the request's body. Where there is none it answers the request
// itself and returns false.
func readMovie(w http.ResponseWriter, r *http.Request) (Movie, bool) {
	var movie Movie
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&movie)
	if err == nil && decoder.More() {
		err = errors.New("more than one value")
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeError(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return Movie{}, false
	case errors.Is(err, io.EOF):
		writeError(w, http.StatusBadRequest, "the body is empty")
		return Movie{}, false
	case err != nil:
		writeError(w, http.StatusBadRequest, fmt.Sprintf("the body is not a movie: %v", err))
		return Movie{}, false
	case strings.TrimSpace(movie.Title) == "":
		writeError(w, http.StatusUnprocessableEntity, "a movie needs a title")
		return Movie{}, false
	}
	return movie, true
}

func writeNoMovie(w http.ResponseWriter, r *http.Request) {
	writeError(w, http.StatusNotFound, fmt.Sprintf("no movie with id %q", mux.Vars(r)["id"]))
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The status is sent: a client that went away is all that can go wrong from here.
	_ = json.NewEncoder(w).Encode(value)
}
