"""What results look like on a terminal: lines, tables, trees and progress bars."""
