package main

import (
	"maps"
	"slices"
	"strconv"
	"sync"
)

// Director is the person who made a movie.
type Director struct {
	FirstName string `json:"firstName"`
	LastName  string `json:"lastName"`
}

// Movie is one entry of the catalogue. The store chooses its ID.
type Movie struct {
	ID       string    `json:"id"`
	Title    string    `json:"title"`
	Year     int       `json:"year,omitempty"`
	Director *Director `json:"director,omitempty"`
}

// Store keeps movies in memory. Any number of goroutines may use it at once.
type Store struct {
	mu     sync.RWMutex
	lastID int
	movies map[int]Movie
}

// NewStore returns a store that holds the given movies, numbered from 1.
func NewStore(movies ...Movie) *Store {
	s := &Store{movies: make(map[int]Movie, len(movies))}
	for _, m := range movies {
		s.Add(m)
	}
	return s
}

// All returns every movie, oldest entry first.
func (s *Store) All() []Movie {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Movie, 0, len(s.movies))
	for _, id := range slices.Sorted(maps.Keys(s.movies)) {
		all = append(all, s.movies[id])
	}
	return all
}

// Get returns the movie with this ID, and whether there is one.
func (s *Store) Get(id int) (Movie, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m, ok := s.movies[id]
	return m, ok
}

// Add keeps m under a new ID and returns it. IDs are never used twice.
func (s *Store) Add(m Movie) Movie {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	return s.put(s.lastID, m)
}

// Replace puts m in the place of the movie with this ID, if there is one.
func (s *Store) Replace(id int, m Movie) (Movie, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.movies[id]; !ok {
		return Movie{}, false
	}
	return s.put(id, m), true
}

// Delete removes the movie with this ID and says whether there was one.
func (s *Store) Delete(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.movies[id]
	delete(s.movies, id)
	return ok
}

func (s *Store) put(id int, m Movie) Movie {
	m.ID = strconv.Itoa(id)
	if m.Director != nil {
		director := *m.Director
		m.Director = &director
	}
	s.movies[id] = m
	return m
}
